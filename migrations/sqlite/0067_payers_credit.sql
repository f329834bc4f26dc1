-- Credit is also found by whoever paid for it.

CREATE INDEX sessions_credit ON sessions (tenant_id, payer) WHERE model = 'credit';
