CREATE TABLE IF NOT EXISTS `webhook_deliveries` (
  `id` bigint AUTO_INCREMENT NOT NULL,
  `endpoint_id` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `event_id` bigint,
  `order_id` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `state` varchar(16) NOT NULL,
  `attempts` int NOT NULL,
  `due_at` datetime(3) NOT NULL,
  `last_status` int,
  `last_error` varchar(500),
  `created_at` datetime(3) NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE INDEX `webhook_deliveries_by_event` (`endpoint_id`, `event_id`),
  INDEX `webhook_deliveries_by_order` (`endpoint_id`, `order_id`),
  INDEX `webhook_deliveries_by_due` (`endpoint_id`, `state`, `due_at`),
  INDEX `webhook_deliveries_by_endpoint` (`endpoint_id`, `id`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
