CREATE TABLE IF NOT EXISTS `order_lines` (
  `order_id` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `position` int NOT NULL,
  `sku` varchar(64) NOT NULL,
  `quantity` int NOT NULL,
  `unit_price` bigint NOT NULL,
  PRIMARY KEY (`order_id`, `position`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
