SET @add_health = IF(
  EXISTS (
    SELECT 1 FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'webhook_endpoints' AND COLUMN_NAME = 'last_error'
  ),
  'DO 0',
  'ALTER TABLE `webhook_endpoints`
    ADD COLUMN `last_error` varchar(500),
    ADD COLUMN `next_attempt_at` datetime(3),
    ALGORITHM = INSTANT'
);
--> statement-breakpoint
PREPARE add_health FROM @add_health;
--> statement-breakpoint
EXECUTE add_health;
--> statement-breakpoint
DEALLOCATE PREPARE add_health;
