CREATE TABLE IF NOT EXISTS `queue_settings` (
  `step` varchar(32) NOT NULL,
  `paused_at` datetime(3),
  `concurrency` int,
  `rate_max` int,
  `rate_duration_ms` int,
  `updated_at` datetime(3) NOT NULL,
  PRIMARY KEY (`step`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
