CREATE TABLE IF NOT EXISTS `provider_ledger` (
  `idempotency_key` varchar(128) NOT NULL,
  `kind` varchar(16) NOT NULL,
  `order_id` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `amount` bigint NOT NULL,
  `currency` char(3),
  `outcome` varchar(16) NOT NULL,
  `reason` varchar(500),
  `provider_id` varchar(64) NOT NULL,
  `attempts` int NOT NULL,
  `created_at` datetime(3) NOT NULL,
  PRIMARY KEY (`idempotency_key`),
  INDEX `provider_ledger_by_order` (`order_id`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
