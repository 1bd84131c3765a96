CREATE TABLE IF NOT EXISTS `operator_actions` (
  `id` bigint AUTO_INCREMENT NOT NULL,
  `at` datetime(3) NOT NULL,
  `actor` varchar(128) NOT NULL,
  `action` varchar(32) NOT NULL,
  `target` varchar(64) NOT NULL,
  `details` json,
  `state` varchar(16) NOT NULL,
  `done` int NOT NULL,
  `total` int,
  `updated_at` datetime(3) NOT NULL,
  PRIMARY KEY (`id`),
  INDEX `operator_actions_by_target` (`target`, `id`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
