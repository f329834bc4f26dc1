-- The first record of a request mostly has an id made of the request's own, by which it is found. The index
-- of requests has the others alone, so that most calls write nothing into it.
DROP INDEX usage_records_of_request;
CREATE INDEX usage_records_of_request ON usage_records (request_id)
  WHERE request_id IS NOT NULL AND id <> 'hld_' || substr(request_id, 5) AND id <> request_id || '.1';
