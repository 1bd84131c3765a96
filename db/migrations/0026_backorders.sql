CREATE TABLE IF NOT EXISTS `backorders` (
  `order_id` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `sku` varchar(64) NOT NULL,
  `quantity` int NOT NULL,
  PRIMARY KEY (`order_id`, `sku`),
  INDEX `backorders_by_sku` (`sku`, `order_id`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
