# Luigi's scheduler daemon, with its state and history on a volume.
FROM python:3.11-slim-bookworm

# luigid crashes at its first task with the history of SQLAlchemy 2.1
RUN pip install --no-cache-dir "luigi>=3.6,<4" "sqlalchemy<2" \
    && useradd --uid 1000 --create-home luigi \
    && install -d -o luigi /var/lib/luigi
COPY deploy/luigi.cfg /etc/luigi/luigi.cfg
USER luigi
VOLUME /var/lib/luigi
EXPOSE 8082
ENTRYPOINT ["luigid", "--address", "0.0.0.0", "--port", "8082"]
