INSERT IGNORE INTO `installation` (`single`, `id`, `written_at`) VALUES (1, UUID(), NOW(3));
