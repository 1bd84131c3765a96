-- MySQL has no ADD COLUMN IF NOT EXISTS, and this may run again after it was cut short. INSTANT changes no row.
SET @alter = IF(
  EXISTS (SELECT 1 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'orders' AND COLUMN_NAME = 'note'),
  'DO 0',
  'ALTER TABLE `orders` ADD COLUMN `adjustments` json, ADD COLUMN `customer` json, ADD COLUMN `bill_to` json, ADD COLUMN `metadata` json, ADD COLUMN `note` varchar(2000), ALGORITHM = INSTANT'
);
--> statement-breakpoint
PREPARE alter_orders FROM @alter;
--> statement-breakpoint
EXECUTE alter_orders;
--> statement-breakpoint
DEALLOCATE PREPARE alter_orders;
