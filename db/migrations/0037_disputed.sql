SET @add_disputed = IF(
  EXISTS (
    SELECT 1 FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'payments' AND COLUMN_NAME = 'disputed'
  ),
  'DO 0',
  'ALTER TABLE `payments` ADD COLUMN `disputed` bigint, ALGORITHM = INSTANT'
);
--> statement-breakpoint
PREPARE add_disputed FROM @add_disputed;
--> statement-breakpoint
EXECUTE add_disputed;
--> statement-breakpoint
DEALLOCATE PREPARE add_disputed;
