-- Changes no row, so a large table is not locked: INSTANT fails rather than copy it.
SET @add_waits = IF(
  EXISTS (
    SELECT 1 FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'orders' AND COLUMN_NAME = 'waiting_stage'
  ),
  'DO 0',
  'ALTER TABLE `orders`
    ADD COLUMN `waiting_stage` varchar(32),
    ADD COLUMN `waiting_for` varchar(500),
    ADD COLUMN `waiting_since` datetime(3),
    ADD COLUMN `waiting_until` datetime(3),
    ADD COLUMN `woken_at` datetime(3),
    ALGORITHM = INSTANT'
);
--> statement-breakpoint
PREPARE add_waits FROM @add_waits;
--> statement-breakpoint
EXECUTE add_waits;
--> statement-breakpoint
DEALLOCATE PREPARE add_waits;
