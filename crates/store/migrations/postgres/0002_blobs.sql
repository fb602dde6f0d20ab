-- Sealed bytes of documents, in parts that are read alone.
CREATE TABLE blobs (
    id   uuid NOT NULL,
    part integer NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (id, part)
);

-- What is sealed does not compress.
ALTER TABLE blobs ALTER COLUMN body SET STORAGE EXTERNAL;
