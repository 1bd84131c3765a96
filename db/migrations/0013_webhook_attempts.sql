CREATE TABLE IF NOT EXISTS `webhook_attempts` (
  `id` bigint AUTO_INCREMENT NOT NULL,
  `delivery_id` bigint NOT NULL,
  `at` datetime(3) NOT NULL,
  `url` varchar(2000) NOT NULL,
  `duration_ms` int NOT NULL,
  `status` int,
  `error` varchar(500),
  `response` varchar(1000),
  PRIMARY KEY (`id`),
  INDEX `webhook_attempts_by_delivery` (`delivery_id`, `id`),
  INDEX `webhook_attempts_by_time` (`at`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
