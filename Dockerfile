# aocr in a container: docker build -t aocr . && docker run --rm -v "$PWD:/data" aocr train /data/annotations.txt
FROM python:3.11-slim-bookworm

# for a GPU: --build-arg EXTRAS='[gcs]' --build-arg TENSORFLOW='tensorflow[and-cuda]'
ARG EXTRAS=[gcs]
ARG TENSORFLOW=tensorflow

WORKDIR /src
COPY . .
RUN pip install --no-cache-dir "${TENSORFLOW}" ".${EXTRAS}" && rm -rf /src

# an ordinary user; to own what is written: docker run --user "$(id -u):$(id -g)" ...
RUN useradd --create-home --uid 1000 aocr && mkdir -p /data && chown aocr:aocr /data
USER aocr
ENV HOME=/home/aocr

WORKDIR /data
ENTRYPOINT ["aocr"]
