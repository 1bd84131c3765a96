SET @add_dispute = IF(
  EXISTS (
    SELECT 1 FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'payments' AND COLUMN_NAME = 'dispute'
  ),
  'DO 0',
  'ALTER TABLE `payments` ADD COLUMN `dispute` varchar(8), ALGORITHM = INSTANT'
);
--> statement-breakpoint
PREPARE add_dispute FROM @add_dispute;
--> statement-breakpoint
EXECUTE add_dispute;
--> statement-breakpoint
DEALLOCATE PREPARE add_dispute;
