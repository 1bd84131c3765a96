-- MySQL has no ADD COLUMN IF NOT EXISTS, and this may run again after it was cut short.
SET @alter = IF(
  EXISTS (SELECT 1 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'leases' AND COLUMN_NAME = 'token'),
  'DO 0',
  'ALTER TABLE `leases` MODIFY COLUMN `holder` varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, ADD COLUMN `token` bigint NOT NULL DEFAULT 0'
);
--> statement-breakpoint
PREPARE alter_leases FROM @alter;
--> statement-breakpoint
EXECUTE alter_leases;
--> statement-breakpoint
DEALLOCATE PREPARE alter_leases;
