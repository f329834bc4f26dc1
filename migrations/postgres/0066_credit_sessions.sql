-- Credit that is bought ahead is a session of a whole tenant.

ALTER TABLE sessions DROP CONSTRAINT sessions_model_check;
ALTER TABLE sessions ADD CONSTRAINT sessions_model_check
  CHECK (model IN ('time_pass', 'token_bucket', 'metered', 'per_kb', 'credit'));
