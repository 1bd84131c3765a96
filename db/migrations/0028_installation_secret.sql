UPDATE `installation` SET `secret` = LOWER(HEX(RANDOM_BYTES(32))) WHERE `secret` IS NULL;
