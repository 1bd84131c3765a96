CREATE TABLE IF NOT EXISTS `payments` (
  `order_id` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `sequence` int NOT NULL,
  `state` varchar(16) NOT NULL,
  `provider` varchar(32) NOT NULL,
  `provider_id` varchar(255),
  `amount` bigint NOT NULL,
  `currency` char(3) NOT NULL,
  `captured` bigint NOT NULL,
  `spent_keys` int NOT NULL,
  `code` varchar(64),
  `reason` varchar(500),
  `action` json,
  `expires_at` datetime(3),
  `created_at` datetime(3) NOT NULL,
  `updated_at` datetime(3) NOT NULL,
  PRIMARY KEY (`order_id`, `sequence`),
  INDEX `payments_by_provider_id` (`provider_id`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
