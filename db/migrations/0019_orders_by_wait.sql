-- Reads the whole table, while orders go on being written: LOCK = NONE fails rather than block them.
SET @add_index = IF(
  EXISTS (
    SELECT 1 FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'orders' AND INDEX_NAME = 'orders_by_wait'
  ),
  'DO 0',
  'ALTER TABLE `orders` ADD INDEX `orders_by_wait` (`waiting_stage`, `id`), ALGORITHM = INPLACE, LOCK = NONE'
);
--> statement-breakpoint
PREPARE add_index FROM @add_index;
--> statement-breakpoint
EXECUTE add_index;
--> statement-breakpoint
DEALLOCATE PREPARE add_index;
