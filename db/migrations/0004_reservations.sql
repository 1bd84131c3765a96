CREATE TABLE IF NOT EXISTS `reservations` (
  `order_id` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `state` varchar(16) NOT NULL,
  `updated_at` datetime(3) NOT NULL,
  PRIMARY KEY (`order_id`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
