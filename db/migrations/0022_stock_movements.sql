CREATE TABLE IF NOT EXISTS `stock_movements` (
  `id` bigint AUTO_INCREMENT NOT NULL,
  `sku` varchar(64) NOT NULL,
  `at` datetime(3) NOT NULL,
  `kind` varchar(16) NOT NULL,
  `delta` int NOT NULL,
  `order_id` char(36) CHARACTER SET ascii COLLATE ascii_bin,
  `reason` varchar(500),
  `reference` varchar(64),
  `actor` varchar(128),
  PRIMARY KEY (`id`),
  INDEX `stock_movements_by_sku` (`sku`, `id`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
