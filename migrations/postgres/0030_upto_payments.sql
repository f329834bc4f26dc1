-- Payments of which less than was signed may be taken, when the delivery has ended.

ALTER TABLE payments DROP CONSTRAINT payments_mode_check;
ALTER TABLE payments ADD CONSTRAINT payments_mode_check
  CHECK (mode IN ('before', 'after', 'upto'));
ALTER TABLE payments DROP CONSTRAINT payments_state_check;
ALTER TABLE payments ADD CONSTRAINT payments_state_check
  CHECK (state IN ('pending', 'serving', 'settling', 'unknown', 'settled', 'delivering', 'credit',
    'redeeming', 'spent', 'voided', 'released'));
-- How much of it is to be settled, where that may be less than was signed.
ALTER TABLE payments ADD COLUMN due BIGINT CHECK (due > 0 AND due <= quoted);
-- Nothing is delivered on trust without a note of what it comes to.
ALTER TABLE payments ADD CONSTRAINT payments_serving_check
  CHECK (state <> 'serving' OR due IS NOT NULL);
-- Whoever was served and has not paid.
CREATE INDEX payments_uncollected ON payments (tenant_id, payer)
  WHERE mode = 'upto' AND state IN ('unknown', 'voided');
