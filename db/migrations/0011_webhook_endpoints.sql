CREATE TABLE IF NOT EXISTS `webhook_endpoints` (
  `id` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `url` varchar(2000) NOT NULL,
  `description` varchar(200),
  `event_types` json,
  `secret` varchar(128) NOT NULL,
  `previous_secret` varchar(128),
  `previous_secret_until` datetime(3),
  `state` varchar(16) NOT NULL,
  `disabled_reason` varchar(500),
  `disabled_at` datetime(3),
  `after_event_id` bigint NOT NULL,
  `failing_since` datetime(3),
  `created_at` datetime(3) NOT NULL,
  `updated_at` datetime(3) NOT NULL,
  PRIMARY KEY (`id`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
