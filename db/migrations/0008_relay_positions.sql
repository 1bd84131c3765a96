CREATE TABLE IF NOT EXISTS `relay_positions` (
  `name` varchar(32) NOT NULL,
  `event_id` bigint NOT NULL,
  `updated_at` datetime(3) NOT NULL,
  PRIMARY KEY (`name`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
