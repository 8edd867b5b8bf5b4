-- Roles belong to the whole cluster, and several of its databases may be migrated at once.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        VALUES ('safeconduct_owner', 'NOLOGIN'), ('safeconduct_service', 'LOGIN'),
               ('safeconduct_agency', 'LOGIN'), ('safeconduct_read', 'LOGIN')
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.column1) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I %s', wanted.column1, wanted.column2);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database's migration was faster
            END;
        END IF;
    END LOOP;
END
$$;
