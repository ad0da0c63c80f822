-- What people arrange on the pages, and want to find again in another browser: the layout of a project's charts, saved
-- views, and runs that lists leave out.

-- When somebody archived the run; NULL: it is in the usual lists.
ALTER TABLE stepwell.run ADD COLUMN archived_at timestamptz;

-- How a project's charts are arranged. Without a row, the pages arrange them themselves.
CREATE TABLE stepwell.project_layout (
    entity     text        NOT NULL,
    project    text        NOT NULL,
    version    bigint      NOT NULL,    -- counts the changes, so that two people do not overwrite each other's
    layout     jsonb       NOT NULL,    -- read and written by the pages alone (workspace/src/model/layout.ts)
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (entity, project)
);

-- Names for views of a project's pages.
CREATE TABLE stepwell.saved_view (
    entity     text        NOT NULL,
    project    text        NOT NULL,
    name       text        NOT NULL,
    page       text        NOT NULL,
    query      text        NOT NULL,    -- of the page's address: '' or beginning with '?'
    layout     jsonb,                   -- NULL: that of the project
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (entity, project, name)
);
