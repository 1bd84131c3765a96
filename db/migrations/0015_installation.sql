CREATE TABLE IF NOT EXISTS `installation` (
  `single` int NOT NULL,
  `id` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `written_at` datetime(3) NOT NULL,
  PRIMARY KEY (`single`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
