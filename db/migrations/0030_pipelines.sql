CREATE TABLE IF NOT EXISTS `pipelines` (
  `fingerprint` char(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `stages` text NOT NULL,
  `set_at` datetime(3) NOT NULL,
  `seen_at` datetime(3) NOT NULL,
  PRIMARY KEY (`fingerprint`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
