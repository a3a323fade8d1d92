-- Embeddings are an endpoint of their own. Rows that are there satisfied the narrower check, so they need not be read again.

alter table requests
    drop constraint requests_endpoint_check,
    add constraint requests_endpoint_check
        check (endpoint in ('chat.completions', 'completions', 'responses', 'embeddings')) not valid;
