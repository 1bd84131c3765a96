CREATE TABLE IF NOT EXISTS `stock_adjustments` (
  `client` char(44) NOT NULL,
  `idempotency_key` varchar(255) NOT NULL,
  `request_hash` char(44) NOT NULL,
  `sku` varchar(64) NOT NULL,
  `on_hand` int NOT NULL,
  `reserved` int NOT NULL,
  `at` datetime(3) NOT NULL,
  PRIMARY KEY (`idempotency_key`, `client`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
