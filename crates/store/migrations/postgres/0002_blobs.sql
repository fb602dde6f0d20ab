-- Sealed bytes of documents, in parts that are read alone; what is sealed does not compress.
CREATE TABLE blobs (
    id   uuid NOT NULL,
    part integer NOT NULL,
    body bytea STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (id, part)
);
