SET @add_request_hash = IF(
  EXISTS (
    SELECT 1 FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'refunds' AND COLUMN_NAME = 'request_hash'
  ),
  'DO 0',
  'ALTER TABLE `refunds` ADD COLUMN `request_hash` char(44), ALGORITHM = INSTANT'
);
--> statement-breakpoint
PREPARE add_request_hash FROM @add_request_hash;
--> statement-breakpoint
EXECUTE add_request_hash;
--> statement-breakpoint
DEALLOCATE PREPARE add_request_hash;
