"""The catalog_sync function: CloudFormation's custom resource that loads the catalog."""

from phigate.aws.catalog_sync import CatalogSync

handler = CatalogSync()
