-- What the calls of a line cost in a minute: more than usual is unusual.

ALTER TABLE line_minutes ADD COLUMN spend_nano BIGINT NOT NULL DEFAULT 0;
