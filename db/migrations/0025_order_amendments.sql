-- INSTANT changes no row.
SET @alter = IF(
  EXISTS (SELECT 1 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'orders' AND COLUMN_NAME = 'due_from'),
  'DO 0',
  'ALTER TABLE `orders` ADD COLUMN `changed_at` datetime(3), ADD COLUMN `holds` json, ADD COLUMN `when_sold_out` varchar(8), ADD COLUMN `due_from` datetime(3), ALGORITHM = INSTANT'
);
--> statement-breakpoint
PREPARE alter_orders FROM @alter;
--> statement-breakpoint
EXECUTE alter_orders;
--> statement-breakpoint
DEALLOCATE PREPARE alter_orders;
