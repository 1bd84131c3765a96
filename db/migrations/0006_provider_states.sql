CREATE TABLE IF NOT EXISTS `provider_states` (
  `provider` varchar(32) NOT NULL,
  `state` varchar(16) NOT NULL,
  `since` datetime(3) NOT NULL,
  PRIMARY KEY (`provider`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
