CREATE TABLE orders (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   text        NOT NULL,
    item        text        NOT NULL,
    quantity    integer     NOT NULL CHECK (quantity > 0),
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX orders_by_tenant ON orders (tenant_id, id);

-- A session sees the rows of the tenant it has named; the app's role is neither owner nor BYPASSRLS.
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON orders
    USING (tenant_id = current_setting('ameide.tenant_id', true))
    WITH CHECK (tenant_id = current_setting('ameide.tenant_id', true));
