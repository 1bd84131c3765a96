-- What was there before movements were recorded, so that they add up to the stock on hand.
INSERT INTO `stock_movements` (`sku`, `at`, `kind`, `delta`, `reason`)
SELECT `sku`, NOW(3), 'count', `on_hand`, 'before movements were recorded' FROM `stock`
WHERE `on_hand` <> 0 AND NOT EXISTS (SELECT 1 FROM `stock_movements` WHERE `stock_movements`.`sku` = `stock`.`sku`);
