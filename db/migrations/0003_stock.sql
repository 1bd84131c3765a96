CREATE TABLE IF NOT EXISTS `stock` (
  `sku` varchar(64) NOT NULL,
  `on_hand` int NOT NULL,
  `reserved` int NOT NULL,
  PRIMARY KEY (`sku`),
  CONSTRAINT `stock_covers_reserved` CHECK (`reserved` >= 0 AND `on_hand` >= `reserved`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
