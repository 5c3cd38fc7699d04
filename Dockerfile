# Two images from one file: `web` (no torch; web server, default worker, migrations) and `training` (with CUDA torch).
#   docker build --target web .        docker build --target training .

FROM python:3.13-slim AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PLUMBLINE_HOST=0.0.0.0 \
    PLUMBLINE_DATA_DIR=/data
RUN useradd --create-home --uid 10001 plumbline \
    && install -d -o plumbline -g plumbline /data /plumbline
WORKDIR /plumbline
COPY pyproject.toml README.md LICENSE ./
COPY constraints constraints
# The packages are installed before the code is copied, so that a change of the code does not install them again.
RUN mkdir app training \
    && touch app/__init__.py training/__init__.py \
    && pip install -c constraints/base.txt -e .

FROM base AS web
COPY . .
USER plumbline
VOLUME /data
EXPOSE 8000
CMD ["plumbline", "web"]

FROM base AS training
RUN pip install -c constraints/base.txt -c constraints/torch-cuda.txt -e '.[train]'
COPY . .
USER plumbline
VOLUME /data
CMD ["plumbline", "worker", "--queue", "training"]
