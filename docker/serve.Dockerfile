# The robot's server, from the repository's root:
#
#     docker build --file docker/serve.Dockerfile --tag sacpipe-serve .
#
# docs/serving.md describes how to run it; `make image` builds it and tests what that page promises.
# A tag can be moved; a build for robots names the base by its digest: --build-arg BASE=debian@sha256:...
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && apt-get clean && rm -rf /var/lib/apt/lists/*

FROM python AS builder
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
# pip is outside the environment that it fills: the copied environment cannot install packages.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/sacpipe
COPY . /source
RUN cd /source && /opt/pip/bin/pip --python /opt/sacpipe/bin/python install \
    --no-cache-dir --disable-pip-version-check --constraint requirements.lock '.[serve]'

FROM python
COPY --from=builder /opt/sacpipe /opt/sacpipe
ENV PATH=/opt/sacpipe/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
# A robot has no package that trains, installs or compiles.
RUN for name in torch mlflow dvc prefect gymnasium pip; do \
        if python -c "import $name" 2>/dev/null; then echo "'$name' can be imported"; exit 1; fi; \
    done; \
    for name in pip pip3 cc gcc make; do \
        if command -v "$name"; then echo "'$name' can be run"; exit 1; fi; \
    done
# A new volume mounted here belongs to this user.
RUN groupadd --gid 10001 sacpipe \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /var/lib/sacpipe \
        --shell /usr/sbin/nologin sacpipe \
    && install --directory --owner 10001 --group 10001 /var/lib/sacpipe
USER 10001:10001

ARG BASE
LABEL org.opencontainers.image.title="sacpipe-serve" \
    org.opencontainers.image.base.name="${BASE}" \
    org.opencontainers.image.description="A policy of sacpipe over HTTP, by the Open Inference Protocol v2" \
    org.opencontainers.image.licenses="MIT"
EXPOSE 5001
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s CMD ["python", "-m", "sacpipe.server.health"]
ENTRYPOINT ["python", "-m", "sacpipe.server"]
CMD ["/bundle", "--host", "0.0.0.0"]
