-- Fails on purpose: the table is there since version 1.
CREATE TABLE orders (id bigint PRIMARY KEY);
