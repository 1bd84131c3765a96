SET @add_event_types = IF(
  EXISTS (
    SELECT 1 FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'order_events' AND COLUMN_NAME = 'type'
  ),
  'DO 0',
  'ALTER TABLE `order_events`
    ADD COLUMN `type` varchar(32) DEFAULT ''status'' NOT NULL,
    ADD COLUMN `actor` varchar(128),
    ADD COLUMN `attempt` int,
    ADD COLUMN `started_at` datetime(3)'
);
--> statement-breakpoint
PREPARE add_event_types FROM @add_event_types;
--> statement-breakpoint
EXECUTE add_event_types;
