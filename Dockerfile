# One image for the embedded default and for nodes of a shared installation.
FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/filestead
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN /opt/filestead/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt \
 && python -m pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/filestead/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Filestead" \
      org.opencontainers.image.description="The OpenAI Files API on your own machines" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/filestead /opt/filestead
RUN install -d -m 0700 -o 10001 -g 10001 /data
USER 10001:10001
# Uploads to S3 wait in TMPDIR for their turn; with a read-only root the volume is the only place to write.
ENV PATH=/opt/filestead/bin:$PATH PYTHONUNBUFFERED=1 FILESTEAD_HOST=0.0.0.0 FILESTEAD_DATA_DIR=/data TMPDIR=/data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=7s --start-period=30s CMD ["filestead", "healthcheck"]
ENTRYPOINT ["filestead"]
CMD ["serve"]
