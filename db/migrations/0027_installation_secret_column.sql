SET @add_secret = IF(
  EXISTS (
    SELECT 1 FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'installation' AND COLUMN_NAME = 'secret'
  ),
  'DO 0',
  'ALTER TABLE `installation` ADD COLUMN `secret` char(64)'
);
--> statement-breakpoint
PREPARE add_secret FROM @add_secret;
--> statement-breakpoint
EXECUTE add_secret;
--> statement-breakpoint
DEALLOCATE PREPARE add_secret;
