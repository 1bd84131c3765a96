SET @alter = IF(
  EXISTS (SELECT 1 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'order_lines' AND COLUMN_NAME = 'details'),
  'DO 0',
  'ALTER TABLE `order_lines` ADD COLUMN `details` json, ALGORITHM = INSTANT'
);
--> statement-breakpoint
PREPARE alter_lines FROM @alter;
--> statement-breakpoint
EXECUTE alter_lines;
--> statement-breakpoint
DEALLOCATE PREPARE alter_lines;
