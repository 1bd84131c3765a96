CREATE TABLE IF NOT EXISTS `operation_results` (
  `order_id` char(36) NOT NULL,
  `stage` varchar(32) NOT NULL,
  `nonce` char(8) NOT NULL,
  `result` json NOT NULL,
  `received_at` datetime(3) NOT NULL,
  `taken_at` datetime(3),
  PRIMARY KEY (`order_id`, `stage`, `nonce`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
