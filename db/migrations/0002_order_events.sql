CREATE TABLE IF NOT EXISTS `order_events` (
  `id` bigint NOT NULL AUTO_INCREMENT,
  `order_id` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `from_status` varchar(32),
  `to_status` varchar(32) NOT NULL,
  `stage` varchar(32),
  `reason` varchar(500),
  `record` json,
  `at` datetime(3) NOT NULL,
  PRIMARY KEY (`id`),
  INDEX `order_events_by_order` (`order_id`, `id`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
